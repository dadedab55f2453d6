"""Power loss, full disks and other faults, simulated."""
