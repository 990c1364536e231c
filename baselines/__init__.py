"""The rivals, one file each. Imports envs and methods only; never one another."""
