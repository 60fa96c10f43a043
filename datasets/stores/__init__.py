"""Storage of candidates in a local folder or in an object store, and local working copies of run folders in a store."""
