"""`fleetmend`: the operators' command line. A client of the admin protocol; it knows nothing else of the controller."""
