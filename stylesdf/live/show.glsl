// The decoded colours, in -1 .. 1, on the canvas, whose rows go upwards.
uniform float size;

void main() {
  ivec2 at = ivec2(gl_FragCoord.x, size - gl_FragCoord.y);
  topLeft = vec4(0.5 + 0.5 * texelFetch(inputs, ivec3((at >> 1) + 1, 2 * (at.y & 1) + (at.x & 1)), 0).rgb, 1.0);
}
