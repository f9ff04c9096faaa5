"""Child processes: started, asked, ended."""
