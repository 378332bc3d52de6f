"""What every Breakwater service stands on. Import the modules by name: `from breakwater.chassis import errors`."""
