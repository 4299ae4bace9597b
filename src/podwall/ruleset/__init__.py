"""From meaning to rules: sets, chains and dispatch as data, their names, diff and simulation."""
