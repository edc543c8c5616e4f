// Unit normals in world axes at the places that trace.glsl found: the field's gradient, by one sweep back through the
// layers: M1' (cos a1 * ... Mn' (cos an * sdf head)).
uniform sampler2D places;

out vec4 normal;

vec4 cosines[DEPTH * BLOCKS];

void main() {
  vec4 place = texelFetch(places, ivec2(gl_FragCoord.xy), 0);
  normal = vec4(0.0);
  if (place.w == 0.0) return;
  vec3 origin, along;
  aim(gl_FragCoord.xy / size - 0.5, origin, along);
  vec3 point = origin + along * place.x;

  for (int b = 0; b < blocks; b++) {
    vec4 angle = within(first(point, b));
    cosines[b] = cos(angle);
    hidden[b] = sin(angle);
  }
  for (int layer = 1; layer < DEPTH; layer++) {
    vec4 next[BLOCKS];
    for (int b = 0; b < blocks; b++) {
      vec4 angle = within(later(layer, b));
      cosines[layer * BLOCKS + b] = cos(angle);
      next[b] = sin(angle);
    }
    hidden = next;
  }

  for (int b = 0; b < blocks; b++) hidden[b] = transpose(columns(b, HEADS))[0]; // from here on it holds the gradient
  for (int layer = DEPTH - 1; layer > 0; layer--) {
    vec4 next[BLOCKS];
    for (int b = 0; b < blocks; b++) {
      hidden[b] *= cosines[layer * BLOCKS + b];
      next[b] = vec4(0.0);
    }
    for (int b = 0; b < blocks; b++) {
      for (int i = 0; i < blocks; i++) next[i] += hidden[b] * columns(i, (layer - 1) * BLOCKS + b);
    }
    hidden = next;
  }
  vec3 gradient = vec3(0.0);
  for (int b = 0; b < blocks; b++) {
    vec4 g = hidden[b] * cosines[b];
    for (int axis = 0; axis < 3; axis++) gradient[axis] += dot(texel(b, FIRST + axis), g);
  }
  normal = vec4(normalize(gradient), 1.0);
}
