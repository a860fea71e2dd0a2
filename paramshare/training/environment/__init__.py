"""The surroundings of a training: devices, memory and the settings of torch."""
