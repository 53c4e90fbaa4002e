"""The pack in ComfyUI's own frontend. A package, so that the page below lives as long as these tests only."""
