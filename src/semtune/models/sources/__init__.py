"""Where weights come from: one file per source, each registered in `semtune.registry.SOURCES`."""
