"""Download datasets: addresses and checksums, resumable transfers, safe unpacking of archives."""
