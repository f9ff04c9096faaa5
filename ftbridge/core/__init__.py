"""The ground floor: records, errors, atomic files and locks, project settings, plugin look-up."""
