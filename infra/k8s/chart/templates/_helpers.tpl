{{- define "rheostat.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "rheostat.labels" -}}
app.kubernetes.io/part-of: rheostat
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "rheostat.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag }}
{{- end }}

{{/* Environment of every container: where its settings lie, and credentials. */}}
{{- define "rheostat.env" -}}
env:
  - name: RHEOSTAT_CONFIG
    value: /etc/rheostat/rheostat.yaml
{{- if .Values.flink.plugin }}
  - name: ENABLE_BUILT_IN_PLUGINS
    value: {{ .Values.flink.plugin }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- if or .Values.envFrom .Values.feast.secret }}
envFrom:
{{- with .Values.feast.secret }}
  - secretRef:
      name: {{ . }}
{{- end }}
{{- with .Values.envFrom }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "rheostat.mounts" -}}
volumeMounts:
  - name: settings
    mountPath: /etc/rheostat
    readOnly: true
  - name: feast
    mountPath: /var/lib/rheostat
{{- if .Values.kafka.secret }}
  - name: kafka
    mountPath: /etc/kafka
    readOnly: true
{{- end }}
{{- end }}

{{- define "rheostat.volumes" -}}
volumes:
  - name: settings
    configMap:
      name: {{ include "rheostat.name" . }}
  - name: feast
    emptyDir: {}
{{- if .Values.kafka.secret }}
  - name: kafka
    secret:
      secretName: {{ .Values.kafka.secret }}
{{- end }}
{{- end }}

{{/* Makes the Feast repo of this release in the pod: the online store alone is shared. */}}
{{- define "rheostat.feast" -}}
- name: feast
  image: {{ include "rheostat.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [/opt/venv/bin/rheostat, features, apply, --repo, /var/lib/rheostat/feast, --online-store, /etc/rheostat/online_store.yaml]
  securityContext:
{{ include "rheostat.security" . | indent 4 }}
{{ include "rheostat.env" . | indent 2 }}
{{ include "rheostat.mounts" . | indent 2 }}
{{- end }}

{{- define "rheostat.security" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "rheostat.pod" -}}
serviceAccountName: {{ .Values.serviceAccount.name }}
securityContext:
{{ toYaml .Values.podSecurityContext | indent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}
