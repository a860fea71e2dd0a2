"""Workers of a sweep: the execution of chunks in this process, in pools of processes and on other machines."""
