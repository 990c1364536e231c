"""The harness: grid, runner, scores, command line."""
