"""Files that travel with the package: the page template and the scripts for the Shelly."""
