"""Model families that only the tests have."""
