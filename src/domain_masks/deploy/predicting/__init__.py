"""From files, folders and arrays to classes, votes and the nearest source."""
