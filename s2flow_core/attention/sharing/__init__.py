"""The heads of one attention call, shared among the devices of a machine; untested on CUDA."""
