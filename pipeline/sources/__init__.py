"""Sources: videos, streams, cameras, images and a drawn street → pictures with their media times."""
