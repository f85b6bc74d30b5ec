"""The desk without a server: raw venue messages of files, decoded, and run through the rules in memory."""
