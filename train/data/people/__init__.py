"""People: stylised heads of people who do not exist, drawn with exact cameras, depth and normals."""
