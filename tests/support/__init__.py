"""What tests share: servers to run, tool chains to build with. Nothing in here is a test."""
