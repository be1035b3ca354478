"""Stress scenarios, one per file. The clients run in this process, the service runs in a child process."""
