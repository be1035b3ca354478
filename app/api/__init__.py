"""HTTP, a file per surface. What is said here is only how requests are read and answers are written."""
