{{- define "onsale.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "onsale.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "onsale.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "onsale.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "onsale.selector" -}}
app.kubernetes.io/name: {{ include "onsale.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "onsale.labels" -}}
{{ include "onsale.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "onsale.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "onsale.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name must be set when serviceAccount.create is false: name the account that runs the operator" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "onsale.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "onsale.priorityClass" -}}
{{- .Values.priorityClass.name | default (ternary (include "onsale.fullname" .) "system-cluster-critical" .Values.priorityClass.create) }}
{{- end }}
