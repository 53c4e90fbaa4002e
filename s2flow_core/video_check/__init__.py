"""What an artist should look at in a finished video, measured."""
