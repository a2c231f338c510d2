"""Video: files, network streams and pipes → pictures with timestamps; the only sources that use PyAV."""
