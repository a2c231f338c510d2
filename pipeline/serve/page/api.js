// API: the run's REST interface, as functions that give JSON, or throw an Error with the server's line and its
// status; 0 where it does not answer.

const LONGEST_MS = 15_000;

async function call(method, path, values) {
  const answer = await fetch(path, {
    method,
    signal: AbortSignal.timeout(LONGEST_MS),
    headers: values === undefined ? {} : { "Content-Type": "application/json" },
    body: values === undefined ? undefined : JSON.stringify(values),
  }).catch(() => {
    throw Object.assign(new Error("the run does not answer"), { status: 0 });
  });
  if (!answer.ok) {
    const text = await answer.text();
    let line = text;
    try {
      line = JSON.parse(text).error ?? text;
    } catch { /* it is plain text */ }
    throw Object.assign(new Error(line.trim()), { status: answer.status });
  }
  return answer.json();
}

export const sources = () => call("GET", "/api/sources");
export const events = () => call("GET", "/api/events");
export const settings = () => call("GET", "/api/settings");
export const changeSettings = (values) => call("PATCH", "/api/settings", values);
export const addSource = (values) => call("POST", "/api/sources", values);
export const pauseSource = (key, paused) => call("PATCH", `/api/sources/${encodeURIComponent(key)}`, { paused });
export const shapes = (key) => call("GET", `/api/sources/${encodeURIComponent(key)}/shapes`);
export const changeShapes = (key, values) => call("PUT", `/api/sources/${encodeURIComponent(key)}/shapes`, values);
export const saveShapes = (key) => call("POST", `/api/sources/${encodeURIComponent(key)}/shapes/saved`, {});
export const removeSource = (key) => call("DELETE", `/api/sources/${encodeURIComponent(key)}`);
