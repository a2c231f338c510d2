"""Counting: objects with track ids → crossings of lines, stays in zones, and the events of both."""
