"""The process and the machine under it: memory limits, malloc, processor features, the cache folder, files."""
