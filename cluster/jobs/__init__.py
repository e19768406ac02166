"""What runs inside the jobs of a submitted run: the driver's, the workers', and the preflight's."""
