"""What is posed: tasks, physics, data. Imports nothing else of the project."""
