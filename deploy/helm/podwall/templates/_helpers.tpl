{{/* The objects have fixed names: a cluster has one podwall. */}}
{{- define "podwall.selector" -}}
app.kubernetes.io/name: podwall
{{- end }}

{{- define "podwall.labels" -}}
{{ include "podwall.selector" . }}
app.kubernetes.io/part-of: podwall
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "podwall.image" -}}
{{- with .Values.image.digest -}}
{{ $.Values.image.repository }}@{{ . }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Of the container that works on the node's kernel: see docs/adr/0014-what-the-agent-may-do.md. */}}
{{- define "podwall.privileges" -}}
runAsUser: 0
runAsGroup: 0
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: [NET_ADMIN, NET_RAW]
{{- with .Values.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "podwall.mounts" -}}
- name: state
  mountPath: /run/podwall
- name: podwall-lock
  mountPath: /run/podwall.lock
- name: xtables-lock
  mountPath: /run/xtables.lock
{{- end }}

{{- define "podwall.agent" -}}
- name: agent
  image: {{ include "podwall.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [agent]
  env:
  - name: PODWALL_NODE_NAME
    valueFrom:
      fieldRef:
        fieldPath: spec.nodeName
  - name: PODWALL_LISTEN
    value: {{ printf "127.0.0.1:%v" .Values.healthPort | quote }}
  {{- range $name, $value := .Values.config }}
  - name: PODWALL_{{ $name | replace "-" "_" | upper }}
    value: {{ $value | quote }}
  {{- end }}
  {{- if .Values.metrics.enabled }}
  - name: PODWALL_METRICS_LISTEN
    value: {{ printf ":%v" .Values.metrics.port | quote }}
  {{- end }}
  {{- with .Values.apiServer.host }}
  - name: KUBERNETES_SERVICE_HOST
    value: {{ . | quote }}
  - name: KUBERNETES_SERVICE_PORT
    value: {{ $.Values.apiServer.port | quote }}
  {{- end }}
  ports:
  - name: health
    containerPort: {{ .Values.healthPort }}
    hostPort: {{ .Values.healthPort }}
    hostIP: 127.0.0.1
    protocol: TCP
  {{- if .Values.metrics.enabled }}
  - name: metrics
    containerPort: {{ .Values.metrics.port }}
    hostPort: {{ .Values.metrics.port }}
    protocol: TCP
  {{- end }}
  livenessProbe:
    httpGet:
      host: 127.0.0.1
      port: health
      path: /livez
      scheme: HTTP
    initialDelaySeconds: 10
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  readinessProbe:
    httpGet:
      host: 127.0.0.1
      port: health
      path: /readyz
      scheme: HTTP
    periodSeconds: 5
    timeoutSeconds: 5
    failureThreshold: 2
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "podwall.privileges" . | nindent 4 }}
  volumeMounts:
  {{- include "podwall.mounts" . | nindent 2 }}
{{- end }}

{{- define "podwall.cleanup" -}}
- name: cleanup
  image: {{ include "podwall.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [cleanup]
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- include "podwall.privileges" . | nindent 4 }}
  volumeMounts:
  {{- include "podwall.mounts" . | nindent 2 }}
{{- end }}

{{/* Does nothing, with no power at all, until it is told to end. */}}
{{- define "podwall.done" -}}
- name: done
  image: {{ include "podwall.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command:
  - /opt/podwall/bin/python
  - -c
  - "from signal import *; pthread_sigmask(SIG_BLOCK, {SIGTERM}); sigwait({SIGTERM})"
  resources:
    requests:
      cpu: 1m
      memory: 16Mi
    limits:
      memory: 64Mi
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532
    privileged: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
{{- end }}
