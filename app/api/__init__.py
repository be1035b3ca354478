"""HTTP, one file per API. This package only reads requests and writes responses."""
