// The decoded colours, in -1 .. 1, on the canvas, whose rows go upwards, as those of the surface's last drawing do.
uniform float size;
uniform sampler2D normals;

void main() {
  ivec2 at = ivec2(gl_FragCoord.x, size - gl_FragCoord.y);
  vec3 shown = clamp(0.5 + 0.5 * pixel(inputs, at, 0).rgb, 0.0, 1.0);
  topLeft = vec4(lit(shown, texture(normals, gl_FragCoord.xy / size).xyz), 1.0);
}
