/* Which sources this library was built from; setup.py defines SEMTUNE_SOURCES (see runtime/sources.py). */
#include "common.h"

EXPORT const char *semtune_sources(void) { return SEMTUNE_SOURCES; }
