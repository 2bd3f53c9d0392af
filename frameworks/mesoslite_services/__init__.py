"""What the data services that come with mesoslite have in common: jars, Java, members that stay."""
