"""What a run needs of the machine: its processes, signals, time limits, files and progress line."""
