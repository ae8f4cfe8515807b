"""Event recordings: streams, files, frames, and the sensor that is simulated."""
