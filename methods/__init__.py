"""What a method is, and the diffusion method. Imports envs only."""
