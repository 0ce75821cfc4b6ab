"""Rows of the schema `auth`: one typed function per statement.  SQL is fixed and fully qualified."""
