"""What a service has to stand, a file each: clients in this process, the service in another."""
