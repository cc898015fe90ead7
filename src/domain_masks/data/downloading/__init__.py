"""Fetching datasets: addresses and checksums, transfers that go on, archives that cannot write elsewhere."""
