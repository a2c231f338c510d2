"""Where pictures come from: video, camera, images, and traffic drawn by the machine."""
