"""Forms by configuration: up to five fields, one alert and one row of a board each (69, 121)."""
