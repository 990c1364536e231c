"""What a run leaves behind: plain records and their store. Imports nothing else of the project."""
