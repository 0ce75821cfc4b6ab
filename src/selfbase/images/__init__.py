"""Images: transformations for Storage, and the imgproxy processing URL at an endpoint of its own.

Storage hands over bytes and parameters through a port; the endpoint fetches sources by URL.  Both
end in the same pipeline: options, geometry, libvips in a capped pool, a bounded disk cache.
Knows nothing of buckets, policies or rows.
"""
