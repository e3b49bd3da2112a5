"""The real servers on this machine, for development and CI: started, watched and stopped by one command."""
