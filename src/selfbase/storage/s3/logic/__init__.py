"""What S3 requests mean: signatures, chunks, checksums, XML, policies.  Pure."""
