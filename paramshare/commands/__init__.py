"""The commands of the command line, a class each: options, one call into the library or a flow, output."""
