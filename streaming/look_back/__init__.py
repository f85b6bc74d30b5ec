"""Looking back: the venue's own list of fills, asked for what its feed did not bring, and compared with ours."""
