"""What answers a request: catalog objects, SQL, types."""
