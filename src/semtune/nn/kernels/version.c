/* Which sources this library was built from; setup.py defines SEMTUNE_SOURCES (see sources.py). The symbol is weak, as
 * every type and level brings the same one. */
__attribute__((visibility("default"), weak)) const char *semtune_sources(void) { return SEMTUNE_SOURCES; }
